from evals.filters.toxicity import *
