from evals.copies.decontaminate import *
