from evals.diversity import *
