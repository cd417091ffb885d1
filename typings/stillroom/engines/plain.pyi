from engines.plain import *
