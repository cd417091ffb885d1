from evals.filters.boilerplate import *
