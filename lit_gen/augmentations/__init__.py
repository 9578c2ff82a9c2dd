"""What a discriminator sees its images through, so that few of them last longer: one class in one file each."""
