"""The engine driven through a recorded or made-up day: which strategy would have served it best."""
