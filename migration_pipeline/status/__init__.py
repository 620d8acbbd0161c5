"""How far a migration is: figures, a picture and a page, from figures that others know."""
