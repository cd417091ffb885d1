from programs.forecast.bounds import *
