"""Commands around datasets: download, training, inference, evaluation, export; and templates for clusters."""
