from evals.verdict import *
