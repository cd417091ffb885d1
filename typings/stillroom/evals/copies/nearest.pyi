from evals.copies.nearest import *
