from evals.stats import *
