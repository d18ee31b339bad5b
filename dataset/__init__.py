"""What users hold: build a data set (`dataset.build`), check it (`dataset.verify`), read it (`dataset.index`)."""
