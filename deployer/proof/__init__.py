"""Shows what an image contains, attaches its bill of materials, and verifies it against its source."""
