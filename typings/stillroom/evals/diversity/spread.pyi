from evals.diversity.spread import *
