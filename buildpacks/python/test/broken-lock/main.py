print("uv")
