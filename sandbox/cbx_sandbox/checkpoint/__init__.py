"""What a job changed, held in private layers: listed, checked against the live tree, committed or discarded.

fresh → claim → place → create → begin → (the job runs) → diff → commit or discard. All of it blocks: call it from a
worker thread.
"""
