from programs.forecast.value import *
