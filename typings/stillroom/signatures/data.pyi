from signatures.data import *
