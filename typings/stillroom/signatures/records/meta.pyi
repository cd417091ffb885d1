from signatures.records.meta import *
