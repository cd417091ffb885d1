from engines.prices import *
