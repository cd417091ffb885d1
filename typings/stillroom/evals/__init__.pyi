from evals import *
