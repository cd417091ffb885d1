from evals.filters.texts import *
