from signatures.shape import *
