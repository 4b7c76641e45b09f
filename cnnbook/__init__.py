"""What the pages of the book import: live figures, questions, drawings, trained networks, the claims, the race."""
