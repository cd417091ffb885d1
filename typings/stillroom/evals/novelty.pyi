from evals.novelty import *
