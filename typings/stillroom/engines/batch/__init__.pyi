from engines.batch import *
