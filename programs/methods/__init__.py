"""The methods of published systems, a module each: parameters, the flow they make, and `METHOD`, which joins them."""
