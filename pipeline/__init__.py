"""What happens to one recording; runs only in worker processes."""
