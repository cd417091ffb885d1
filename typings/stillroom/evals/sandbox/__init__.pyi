from evals.sandbox import *
