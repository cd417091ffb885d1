from signatures.operators.answering import *
