"""What an overlay captured: diff, commit, roll back."""
