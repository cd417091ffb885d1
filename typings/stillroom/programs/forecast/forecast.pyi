from programs.forecast.forecast import *
