from evals.copies.novelty import *
