from evals.diversity.verbs import *
