from signatures.records.schemas import *
