from programs.forecast.standing import *
