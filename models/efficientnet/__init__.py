"""EfficientNet-lite0, which may begin with weights of ImageNet."""
