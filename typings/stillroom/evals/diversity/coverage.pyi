from evals.diversity.coverage import *
