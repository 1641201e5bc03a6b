"""What is measured and against what: features, generated images, references, published figures."""
