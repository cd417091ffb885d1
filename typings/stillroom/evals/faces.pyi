from evals.faces import *
