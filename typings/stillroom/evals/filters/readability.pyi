from evals.filters.readability import *
