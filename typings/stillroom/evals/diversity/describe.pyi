from evals.diversity.describe import *
