from evals.diversity.lexical import *
