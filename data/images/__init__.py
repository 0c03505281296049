"""Images: encoded bytes as an array, and the weights of a resize."""
