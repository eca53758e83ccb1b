"""What is known of samples that are to be made: a part of them, their means, a blurred or noisy copy."""
