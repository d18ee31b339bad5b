"""Face detectors with 68-point landmark models behind one interface, `models.FaceModel`."""
