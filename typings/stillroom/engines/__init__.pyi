from engines import *
