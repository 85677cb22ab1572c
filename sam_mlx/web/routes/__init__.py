"""What the server does with a request: a function for each endpoint, in files by subject."""
