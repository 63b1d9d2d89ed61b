"""How alike two models see pictures: linear CKA without bias, alignment, uniformity."""
