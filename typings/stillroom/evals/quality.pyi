from evals.quality import *
