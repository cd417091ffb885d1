from evals.decontaminate import *
