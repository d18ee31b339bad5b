"""Commands and API for users: build (`dataset.build`), verify (`dataset.verify`) and read (`dataset.stream`) datasets."""
