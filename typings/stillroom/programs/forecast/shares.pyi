from programs.forecast.shares import *
